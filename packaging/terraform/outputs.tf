output "application" {
  description = "The CodeDeploy application."
  value       = aws_codedeploy_deployment_group.environment.app_name
}

output "deployment_group" {
  description = "The deployment group, of all roles."
  value       = aws_codedeploy_deployment_group.environment.deployment_group_name
}

output "bucket" {
  description = "The bucket of the revisions."
  value       = local.bucket
}

output "groups" {
  description = "The Auto Scaling groups: role to name."
  value       = { for role, group in aws_autoscaling_group.role : role => group.name }
}

output "instance_roles" {
  description = "The IAM roles of the instances: role to name, for policies that the application needs."
  value       = { for role, iam in aws_iam_role.instance : role => iam.name }
}

output "launch_templates" {
  description = "The launch templates: role to id."
  value       = { for role, template in aws_launch_template.role : role => template.id }
}

output "usher_yml" {
  description = "usher.yml for the application's repository, with which `usher deploy` finds this environment: terraform output -raw usher_yml."
  value       = <<-EOT
    application: ${var.application}
    environments:
      ${var.deployment_group}:
        deployment_group: ${var.deployment_group}
        bucket: ${local.bucket}
        prefix: "${var.prefix}"
        region: ${data.aws_region.current.id}
  EOT
}
