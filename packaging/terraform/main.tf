# One environment of one application: its deployment group, and an Auto Scaling group for each role. All run the same
# revision.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  environment = "${var.application}-${var.deployment_group}"
  groups      = { for role, _ in var.roles : role => "${local.environment}-${role}" }

  # CodeDeploy finds the servers by these two, and usher finds out by them which deployment group is its own. They
  # win over the image's agent.yml: one image serves staging and production.
  usher_tags = {
    "usher:application"      = var.application
    "usher:deployment-group" = var.deployment_group
  }
  tags = merge(var.tags, local.usher_tags)
}
