variable "region" {
  type        = string
  default     = "eu-west-1"
  description = "Where it runs."
}

variable "environment" {
  type        = string
  default     = "production"
  description = "Name of the deployment group, and of the environment in usher.yml."
}

variable "vpc_id" {
  type        = string
  description = "Network of the servers."
}

variable "subnet_ids" {
  type        = list(string)
  description = "Subnets of the servers, with a way to AWS's endpoints."
}

variable "target_group_arn" {
  type        = string
  description = "Target group of the load balancer, for port 8080."
}

variable "load_balancer_security_group_id" {
  type        = string
  description = "Security group of the load balancer."
}
