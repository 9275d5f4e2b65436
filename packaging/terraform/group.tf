# The groups and what they launch.

locals {
  # For a person who looks at the hook, and asks whose it is.
  hook_metadata = jsonencode({ agent = "usher", application = var.application, deployment_group = var.deployment_group })
}

resource "aws_launch_template" "role" {
  for_each = var.roles

  name                   = local.groups[each.key]
  description            = "Role ${each.key} of ${local.environment}"
  image_id               = each.value.image_id
  instance_type          = each.value.instance_type
  key_name               = each.value.key_name
  vpc_security_group_ids = each.value.security_group_ids
  user_data              = each.value.user_data == null ? null : base64encode(each.value.user_data)
  update_default_version = true

  iam_instance_profile {
    arn = aws_iam_instance_profile.instance[each.key].arn
  }

  # By session tokens only, from the instance itself only. With the tags in it, usher need not ask which deployment
  # group is its own.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
    instance_metadata_tags      = "enabled"
  }

  # Instances get theirs from the group.
  tag_specifications {
    resource_type = "volume"
    tags          = merge(local.tags, { Name = local.groups[each.key], "usher:role" = each.key })
  }
  tags = merge(local.tags, { "usher:role" = each.key })
}

resource "aws_autoscaling_group" "role" {
  for_each = var.roles

  name                = local.groups[each.key]
  min_size            = each.value.min_size
  max_size            = each.value.max_size
  desired_capacity    = each.value.desired_capacity
  vpc_zone_identifier = each.value.subnet_ids
  target_group_arns   = each.value.target_group_arns
  health_check_type   = length(each.value.target_group_arns) > 0 ? "ELB" : "EC2"
  # An instance is in service when its application was seen to work: there is nothing to wait for.
  health_check_grace_period = 0

  # A number and not $Latest: Terraform sees that a new image is there, and a refresh can go back to the old one.
  launch_template {
    id      = aws_launch_template.role[each.key].id
    version = aws_launch_template.role[each.key].latest_version
  }

  # In the group itself. As a resource of its own alone, the hook would come after the first instances.
  initial_lifecycle_hook {
    name                  = var.launch_hook.name
    lifecycle_transition  = "autoscaling:EC2_INSTANCE_LAUNCHING"
    heartbeat_timeout     = var.launch_hook.heartbeat_timeout
    default_result        = var.launch_hook.default_result
    notification_metadata = local.hook_metadata
  }

  dynamic "warm_pool" {
    for_each = each.value.warm_pool[*]
    content {
      pool_state                  = warm_pool.value.state
      min_size                    = warm_pool.value.min_size
      max_group_prepared_capacity = warm_pool.value.max_prepared
      instance_reuse_policy {
        reuse_on_scale_in = warm_pool.value.reuse
      }
    }
  }

  dynamic "instance_refresh" {
    for_each = each.value.instance_refresh[*]
    content {
      strategy = "Rolling"
      preferences {
        min_healthy_percentage = instance_refresh.value.min_healthy
        max_healthy_percentage = instance_refresh.value.max_healthy
        instance_warmup        = instance_refresh.value.warmup
        auto_rollback          = instance_refresh.value.auto_rollback
        skip_matching          = true
      }
    }
  }

  dynamic "tag" {
    for_each = merge(local.tags, { Name = local.groups[each.key], "usher:role" = each.key, "usher:bucket" = local.bucket })
    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = true
    }
  }

  # What the first instance asks for must be there before it is launched.
  depends_on = [
    aws_codedeploy_deployment_group.environment,
    aws_iam_role_policy.instance,
    aws_iam_role_policy.instance_key,
    aws_iam_role_policy_attachment.instance,
  ]
}

# The same hook again. Terraform gives a group its initial hooks when it creates it, and never looks at them later:
# here a changed timeout arrives, and one changed by hand is put right.
resource "aws_autoscaling_lifecycle_hook" "launch" {
  for_each = var.roles

  autoscaling_group_name = aws_autoscaling_group.role[each.key].name
  name                   = var.launch_hook.name
  lifecycle_transition   = "autoscaling:EC2_INSTANCE_LAUNCHING"
  heartbeat_timeout      = var.launch_hook.heartbeat_timeout
  default_result         = var.launch_hook.default_result
  notification_metadata  = local.hook_metadata
}

# Holds an instance that is terminated until its application has stopped. Either result lets it go.
resource "aws_autoscaling_lifecycle_hook" "drain" {
  for_each = { for role, r in var.roles : role => r if r.drain_timeout != null }

  autoscaling_group_name = aws_autoscaling_group.role[each.key].name
  name                   = "usher-drain"
  lifecycle_transition   = "autoscaling:EC2_INSTANCE_TERMINATING"
  heartbeat_timeout      = each.value.drain_timeout
  default_result         = "CONTINUE"
  notification_metadata  = local.hook_metadata
}
