# App servers behind a load balancer, and job servers that work off a queue: two images, one revision.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.60"
    }
  }
}

provider "aws" {
  region = var.region
}

# The newest image of each role, as packaging/image tags it.
data "aws_ami" "role" {
  for_each = toset(["app", "job"])

  owners      = ["self"]
  most_recent = true
  filter {
    name   = "tag:usher:role"
    values = [each.key]
  }
  filter {
    name   = "state"
    values = ["available"]
  }
}

resource "aws_security_group" "server" {
  name_prefix = "shop-${var.environment}-"
  description = "Servers of the shop"
  vpc_id      = var.vpc_id

  egress {
    description = "S3, CodeDeploy, Auto Scaling"
    from_port   = 443
    to_port     = 443
    protocol    = "tcp"
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_security_group_rule" "web" {
  description              = "From the load balancer"
  security_group_id        = aws_security_group.server.id
  type                     = "ingress"
  from_port                = 8080
  to_port                  = 8080
  protocol                 = "tcp"
  source_security_group_id = var.load_balancer_security_group_id
}

module "shop" {
  source = "../.."

  application      = "shop"
  deployment_group = var.environment

  roles = {
    app = {
      image_id           = data.aws_ami.role["app"].id
      instance_type      = "t3.small"
      subnet_ids         = var.subnet_ids
      security_group_ids = [aws_security_group.server.id]
      min_size           = 2
      max_size           = 6
      target_group_arns  = [var.target_group_arn]
      warm_pool          = { min_size = 1 }
      instance_refresh   = {}
    }
    job = {
      image_id           = data.aws_ami.role["job"].id
      instance_type      = "t3.small"
      subnet_ids         = var.subnet_ids
      security_group_ids = [aws_security_group.server.id]
      min_size           = 1
      max_size           = 3
      drain_timeout      = 120
      instance_refresh   = {}
    }
  }
}
