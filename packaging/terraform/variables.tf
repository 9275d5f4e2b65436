# --- What is deployed ----------------------------------------------------------------------------------------

variable "application" {
  type        = string
  description = "CodeDeploy application. The instances get it as their tag usher:application."
  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", var.application))
    error_message = "The application must be 1 to 64 letters, digits and ._- and begin with a letter or digit: it is part of other names."
  }
}

variable "create_application" {
  type        = bool
  default     = true
  description = "Whether to create the application. false when it is there, for example from the module of another environment."
}

variable "deployment_group" {
  type        = string
  description = "The one deployment group of all servers of this environment, whatever their role. They get it as their tag usher:deployment-group."
  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", var.deployment_group))
    error_message = "The deployment group must be 1 to 64 letters, digits and ._- and begin with a letter or digit: it is part of other names."
  }
}

variable "deployment_config" {
  type        = string
  default     = "CodeDeployDefault.HalfAtATime"
  description = "How many servers in service are deployed to at the same time. It has no bearing on launches."
}

variable "rollback" {
  type        = bool
  default     = true
  description = "Whether CodeDeploy deploys the last good revision again when a deployment fails."
}

# --- Where revisions are -------------------------------------------------------------------------------------

variable "bucket" {
  type        = string
  default     = null
  description = "Bucket of the revisions. null creates one: private, versioned, encrypted."
}

variable "prefix" {
  type        = string
  default     = ""
  description = "Folder of the bucket that revisions are in, as in usher.yml: \"\", or a name that ends with a slash."
  validation {
    condition     = can(regex("^([A-Za-z0-9!_.'()-]+/)*$", var.prefix))
    error_message = "The prefix must be empty, or a folder that ends with a slash, such as revisions/."
  }
}

variable "kms_key_arn" {
  type        = string
  default     = null
  description = "Key that revisions are encrypted with; null for S3's own. Its policy must allow this account's roles to use it."
  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/", var.kms_key_arn))
    error_message = "The key must be given by its ARN, arn:aws:kms:REGION:ACCOUNT:key/ID; an alias is not enough for a policy."
  }
}

variable "old_versions_days" {
  type        = number
  default     = 30
  description = "How long the created bucket keeps overwritten or deleted versions of objects. Revisions that are current stay: a launch needs the last good one, however old it is."
  validation {
    condition     = var.old_versions_days >= 1 && floor(var.old_versions_days) == var.old_versions_days
    error_message = "old_versions_days must be a whole number of days, 1 at the least."
  }
}

variable "destroy_revisions" {
  type        = bool
  default     = false
  description = "Whether terraform destroy may remove the created bucket with the revisions in it."
}

# --- How a launch is judged ----------------------------------------------------------------------------------

variable "launch_hook" {
  type = object({
    name              = optional(string, "usher-launch")
    heartbeat_timeout = optional(number, 300)
    default_result    = optional(string, "ABANDON")
  })
  default     = {}
  description = "The launch hook of every group. usher heartbeats, so heartbeat_timeout (seconds) is how long a silent instance is waited for, and no limit to a deployment: that is 100 times as much, 48 hours at the most. default_result is the verdict when nobody gave one: with CONTINUE a server without an application enters service."
  validation {
    condition     = can(regex("^[A-Za-z0-9/_.-]{1,255}$", var.launch_hook.name)) && !startswith(var.launch_hook.name, "CodeDeploy-managed-")
    error_message = "The hook's name must be letters, digits and _./- and must not begin with CodeDeploy-managed-, which usher leaves alone."
  }
  validation {
    condition     = var.launch_hook.heartbeat_timeout >= 30 && var.launch_hook.heartbeat_timeout <= 7200
    error_message = "The heartbeat timeout must be 30 to 7200 seconds."
  }
  validation {
    condition     = contains(["ABANDON", "CONTINUE"], var.launch_hook.default_result)
    error_message = "The default result must be ABANDON or CONTINUE."
  }
}

# --- What it runs on -----------------------------------------------------------------------------------------

variable "roles" {
  type = map(object({
    image_id           = string
    instance_type      = string
    subnet_ids         = list(string)
    security_group_ids = list(string)

    min_size         = number
    max_size         = number
    desired_capacity = optional(number)

    target_group_arns = optional(list(string), [])
    key_name          = optional(string)
    user_data         = optional(string)
    policy_arns       = optional(list(string), [])
    drain_timeout     = optional(number)

    warm_pool = optional(object({
      state        = optional(string, "Stopped")
      min_size     = optional(number, 0)
      max_prepared = optional(number)
      reuse        = optional(bool, false)
    }))
    instance_refresh = optional(object({
      min_healthy   = optional(number, 100)
      max_healthy   = optional(number, 110)
      warmup        = optional(number, 60)
      auto_rollback = optional(bool, true)
    }))
  }))
  description = <<-EOT
    The roles, by name: each is a launch template, an Auto Scaling group and an instance profile.
      image_id            the AMI of the role, as packaging/image makes it
      instance_type       of the image's architecture
      subnet_ids          where instances run; they must reach S3, CodeDeploy and Auto Scaling
      security_group_ids  of the instances; usher needs outgoing HTTPS and nothing else
      min_size, max_size  of the group
      desired_capacity    null leaves it to Auto Scaling, and at first is min_size
      target_group_arns   load balancer target groups; an instance is registered after usher's CONTINUE
      key_name            EC2 key pair; null for none
      user_data           as text; usher starts when cloud-init has written its files
      policy_arns         further policies of the role's instances, for example of Session Manager
      drain_timeout       seconds ApplicationStop may take when an instance is terminated; needs
                          on_terminate: stop in the image's agent.yml. null: no hook for it
      warm_pool           null: none. usher deploys when an instance enters the pool, and looks again when it leaves
      instance_refresh    null: instances of an older image stay. Otherwise a changed image or instance type
                          replaces them; min_healthy and max_healthy are percentages, warmup seconds
  EOT
  validation {
    condition     = length(var.roles) > 0 && alltrue([for name, _ in var.roles : can(regex("^[a-z][a-z0-9-]{0,31}$", name))])
    error_message = "There must be a role, and each be named with lower case letters, digits and dashes, 32 at the most."
  }
  validation {
    condition     = alltrue([for _, r in var.roles : r.min_size >= 0 && r.min_size <= r.max_size && try(r.desired_capacity >= r.min_size && r.desired_capacity <= r.max_size, true)])
    error_message = "A role's sizes must be min_size <= desired_capacity <= max_size."
  }
  validation {
    condition     = alltrue([for _, r in var.roles : length(r.subnet_ids) > 0])
    error_message = "Each role needs a subnet."
  }
  validation {
    condition     = alltrue([for _, r in var.roles : try(r.drain_timeout >= 30 && r.drain_timeout <= 7200, r.drain_timeout == null)])
    error_message = "A role's drain_timeout must be 30 to 7200 seconds."
  }
  validation {
    condition     = alltrue([for _, r in var.roles : try(contains(["Stopped", "Running", "Hibernated"], r.warm_pool.state), r.warm_pool == null)])
    error_message = "The state of a warm pool must be Stopped, Running or Hibernated."
  }
}

variable "tags" {
  type        = map(string)
  default     = {}
  description = "Further tags, of everything the module creates and of the instances."
  # With tags in instance metadata, EC2 refuses to launch an instance that has a tag with another key.
  validation {
    condition     = alltrue([for key, _ in var.tags : can(regex("^[A-Za-z0-9+=.,_:@-]{1,128}$", key)) && !contains([".", "..", "_index"], key)])
    error_message = "A tag's key must be letters, digits and +-=.,_:@ without blanks or slashes: EC2 shows tags in instance metadata only with such keys, and launches nothing with others."
  }
  validation {
    condition     = alltrue([for key, _ in var.tags : !startswith(key, "usher:") && !startswith(key, "aws:") && key != "Name"])
    error_message = "Tags named usher:*, aws:* and Name are not yours to set here."
  }
}
