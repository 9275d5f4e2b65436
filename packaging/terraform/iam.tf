# What the instances may do: what usher does, and nothing else. The two templates are what `usher iam-policy` prints;
# a test compares them.

locals {
  names = {
    partition        = data.aws_partition.current.partition
    suffix           = data.aws_partition.current.dns_suffix
    region           = data.aws_region.current.id
    account          = data.aws_caller_identity.current.account_id
    application      = var.application
    deployment_group = var.deployment_group
    bucket           = local.bucket
    folder           = "${var.prefix}${var.application}"
    key              = var.kms_key_arn
  }

  attachments = merge([for role, r in var.roles : { for arn in r.policy_arns : "${role} ${arn}" => { role = role, arn = arn } }]...)
}

resource "aws_iam_role" "instance" {
  for_each = var.roles

  name_prefix = "${substr(local.groups[each.key], 0, 37)}-"
  description = "Instances of role ${each.key} of ${local.environment}"
  tags        = merge(local.tags, { "usher:role" = each.key })
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ec2.${data.aws_partition.current.dns_suffix}" }
    }]
  })
}

resource "aws_iam_role_policy" "instance" {
  for_each = var.roles

  name   = "usher"
  role   = aws_iam_role.instance[each.key].id
  policy = templatefile("${path.module}/instance-policy.json.tftpl", merge(local.names, { group = local.groups[each.key] }))
}

resource "aws_iam_role_policy" "instance_key" {
  for_each = { for role, r in var.roles : role => r if var.kms_key_arn != null }

  name   = "usher-key"
  role   = aws_iam_role.instance[each.key].id
  policy = templatefile("${path.module}/instance-policy-key.json.tftpl", local.names)
}

resource "aws_iam_role_policy_attachment" "instance" {
  for_each = local.attachments

  role       = aws_iam_role.instance[each.value.role].name
  policy_arn = each.value.arn
}

resource "aws_iam_instance_profile" "instance" {
  for_each = var.roles

  name_prefix = "${substr(local.groups[each.key], 0, 37)}-"
  role        = aws_iam_role.instance[each.key].name
  tags        = merge(local.tags, { "usher:role" = each.key })
}
