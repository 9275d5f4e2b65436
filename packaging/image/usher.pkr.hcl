# An image of one role, by provision.sh beside this file. From the top of the repository:
#
#   packer init packaging/image
#   packer build -var role=app -var package=dist/usher_1.2.3_amd64.deb -var usher_version=1.2.3 \
#     -var base=base.tar.gz -var base_commit="$(git rev-parse HEAD)" packaging/image
#
# and the same with role=job: the same package and the same base, another role.

packer {
  required_version = ">= 1.9.0"
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = "~> 1.3"
    }
  }
}

variable "role" {
  type        = string
  description = "What the image is for: a folder of roles/ beside this file."
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]*$", var.role))
    error_message = "The role is the name of a folder of roles/: lower case letters, digits and dashes."
  }
}

variable "package" {
  type        = string
  description = "The .deb or .rpm of usher, for the architecture of the source image."
  validation {
    condition     = can(regex("\\.(deb|rpm)$", var.package))
    error_message = "The package must be a .deb or a .rpm."
  }
}

variable "usher_version" {
  type        = string
  description = "The version in the package, for the image's name and tags."
}

variable "base" {
  type        = string
  description = "The base application as a tar archive: git archive --output base.tar.gz COMMIT."
}

variable "base_commit" {
  type        = string
  description = "The commit the base application is of, for the image's tags."
}

variable "bake_options" {
  type        = list(string)
  default     = []
  description = "More options for usher bake, for example to lay a revision down. They must not have spaces in them."
}

variable "region" {
  type        = string
  default     = "eu-west-1"
  description = "Where the image is made."
}

variable "architecture" {
  type        = string
  default     = "amd64"
  description = "amd64 or arm64; the instance type must be of it too."
  validation {
    condition     = contains(["amd64", "arm64"], var.architecture)
    error_message = "The architecture must be amd64 or arm64."
  }
}

variable "instance_type" {
  type        = string
  default     = "t3.small"
  description = "Of the builder, not of the instances: t4g.small for arm64."
}

variable "source_image_owner" {
  type        = string
  default     = "136693071363"
  description = "The account that publishes the source image; Debian's."
}

variable "source_image_name" {
  type        = string
  default     = "debian-13"
  description = "How the source image's name begins; followed by the architecture."
}

variable "ssh_username" {
  type        = string
  default     = "admin"
  description = "The source image's user: admin for Debian, ubuntu, ec2-user."
}

variable "root_device" {
  type        = string
  default     = "/dev/xvda"
  description = "The source image's root device: /dev/xvda for Debian and Amazon Linux, /dev/sda1 for Ubuntu."
}

variable "volume_size" {
  type        = number
  default     = 20
  description = "GiB of the root volume. The releases are on it: as many as `keep_releases` in agent.yml, and one more."
}

variable "kms_key_id" {
  type        = string
  default     = ""
  description = "Key that encrypts the volume; empty for the account's own. To share the image it must be a key that can be shared."
}

variable "subnet_id" {
  type        = string
  default     = ""
  description = "Where the builder runs; empty for the default network."
}

data "amazon-ami" "source" {
  region      = var.region
  owners      = [var.source_image_owner]
  most_recent = true
  filters = {
    name                = "${var.source_image_name}-${var.architecture}-*"
    root-device-type    = "ebs"
    virtualization-type = "hvm"
  }
}

locals {
  time = formatdate("YYYYMMDD-hhmmss", timestamp())
  name = "${var.role}-usher-${var.usher_version}-${local.time}"
  tags = {
    Name                = local.name
    "usher:role"        = var.role
    "usher:version"     = var.usher_version
    "usher:base-commit" = var.base_commit
    "usher:source-ami"  = data.amazon-ami.source.id
  }
}

source "amazon-ebs" "image" {
  region        = var.region
  source_ami    = data.amazon-ami.source.id
  instance_type = var.instance_type
  subnet_id     = var.subnet_id
  ssh_username  = var.ssh_username
  # The builder's key has no business on an instance.
  ssh_clear_authorized_keys = true

  ami_name        = local.name
  ami_description = "usher ${var.usher_version}, role ${var.role}, base ${var.base_commit}"
  tags            = local.tags
  snapshot_tags   = local.tags
  run_tags        = { Name = "packer ${local.name}" }
  run_volume_tags = { Name = "packer ${local.name}" }

  # Metadata by session tokens only, and from the machine itself only: on the builder, and as the image's default on
  # every instance. usher never asks otherwise.
  imds_support = "v2.0"
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  launch_block_device_mappings {
    device_name           = var.root_device
    volume_type           = "gp3"
    volume_size           = var.volume_size
    encrypted             = true
    kms_key_id            = var.kms_key_id
    delete_on_termination = true
  }
}

build {
  sources = ["source.amazon-ebs.image"]

  provisioner "shell" {
    inline = ["install -d -m 0700 /tmp/usher-image"]
  }
  provisioner "file" {
    sources     = ["${path.root}/provision.sh", "${path.root}/roles"]
    destination = "/tmp/usher-image/"
  }
  provisioner "file" {
    source      = var.package
    destination = "/tmp/usher-image/${basename(var.package)}"
  }
  provisioner "file" {
    source      = var.base
    destination = "/tmp/usher-image/${basename(var.base)}"
  }
  # usher bake is the last step of it: nothing but the upload is touched afterwards.
  provisioner "shell" {
    inline = [
      join(" ", concat(
        ["sudo bash /tmp/usher-image/provision.sh", var.role, "/tmp/usher-image/${basename(var.package)}", "/tmp/usher-image/${basename(var.base)}"],
        var.bake_options,
      )),
      "sudo rm -r /tmp/usher-image",
    ]
  }

  # What was made, for what launches it: artifact_id is REGION:AMI.
  post-processor "manifest" {
    output     = "image-${var.role}.json"
    strip_path = true
  }
}
