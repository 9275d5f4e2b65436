#!/bin/bash
# What a careful person puts into user data today: find out who this instance is and what it should run, fetch that,
# unpack it, run its scripts, switch the link, and let the instance into service.
# ROOT is where the server's files are, APPLICATION, GROUP and HOOK are what the template would fill in.
set -euo pipefail

metadata=${AWS_EC2_METADATA_SERVICE_ENDPOINT:-http://169.254.169.254}
token=$(curl -sf -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 300' "$metadata/latest/api/token")
get() { curl -sf -H "X-aws-ec2-metadata-token: $token" "$metadata/latest/meta-data/$1"; }
instance=$(get instance-id)
AWS_DEFAULT_REGION=$(get placement/region)
export AWS_DEFAULT_REGION

asg=$(aws autoscaling describe-auto-scaling-instances --instance-ids "$instance" \
  --query 'AutoScalingInstances[0].AutoScalingGroupName' --output text)
read -r bucket key < <(aws deploy get-deployment-group --application-name "$APPLICATION" --deployment-group-name "$GROUP" \
  --query 'deploymentGroupInfo.targetRevision.s3Location.[bucket,key]' --output text)

aws s3 cp --only-show-errors "s3://$bucket/$key" "$ROOT/bundle.zip"
release=$ROOT/opt/app-releases/$(date +%Y%m%d%H%M%S)
mkdir -p "$release"
unzip -q "$ROOT/bundle.zip" -d "$release"
rm "$ROOT/bundle.zip"

cd "$release"
scripts/prepare.sh
scripts/configure.sh
ln -sfn "$release" "$ROOT/opt/app"
scripts/start.sh

aws autoscaling complete-lifecycle-action --lifecycle-action-result CONTINUE \
  --auto-scaling-group-name "$asg" --lifecycle-hook-name "$HOOK" --instance-id "$instance"
