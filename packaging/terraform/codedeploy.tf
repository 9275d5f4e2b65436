resource "aws_codedeploy_app" "application" {
  count = var.create_application ? 1 : 0

  name             = var.application
  compute_platform = "Server"
  tags             = var.tags
}

# By the instances' tags, and not by their Auto Scaling groups: CodeDeploy would put a launch hook of its own on
# those, which makes each launch wait for a deployment of its as well.
resource "aws_codedeploy_deployment_group" "environment" {
  app_name               = var.create_application ? aws_codedeploy_app.application[0].name : var.application
  deployment_group_name  = var.deployment_group
  service_role_arn       = aws_iam_role.codedeploy.arn
  deployment_config_name = var.deployment_config
  tags                   = var.tags

  # A server must have both: each set must match.
  dynamic "ec2_tag_set" {
    for_each = local.usher_tags
    content {
      ec2_tag_filter {
        type  = "KEY_AND_VALUE"
        key   = ec2_tag_set.key
        value = ec2_tag_set.value
      }
    }
  }

  deployment_style {
    deployment_type   = "IN_PLACE"
    deployment_option = "WITHOUT_TRAFFIC_CONTROL"
  }

  auto_rollback_configuration {
    enabled = var.rollback
    events  = ["DEPLOYMENT_FAILURE"]
  }

  depends_on = [aws_iam_role_policy.codedeploy]
}

# CodeDeploy's own role. It finds instances by their tags; AWS's managed policy (AWSCodeDeployRole) would also let it
# change Auto Scaling groups and load balancers.
resource "aws_iam_role" "codedeploy" {
  name_prefix = "${substr("codedeploy-${local.environment}", 0, 37)}-"
  description = "CodeDeploy, for ${local.environment}"
  tags        = var.tags
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "codedeploy.amazonaws.com" }
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "codedeploy" {
  name = "find-instances"
  role = aws_iam_role.codedeploy.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["ec2:DescribeInstances", "ec2:DescribeInstanceStatus", "tag:GetResources"]
      Resource = "*"
    }]
  })
}
