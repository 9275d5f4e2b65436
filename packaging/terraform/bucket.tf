# Where revisions are, unless a bucket was given.

locals {
  create_bucket = var.bucket == null ? 1 : 0
  bucket        = var.bucket == null ? aws_s3_bucket.revisions[0].bucket : var.bucket
}

resource "aws_s3_bucket" "revisions" {
  count = local.create_bucket

  bucket_prefix = "${substr(replace(lower(local.environment), "/[^a-z0-9-]/", "-"), 0, 26)}-revisions-"
  force_destroy = var.destroy_revisions
  tags          = var.tags
}

# A deployment names the version of its revision: what is overwritten or deleted by mistake can still be deployed.
resource "aws_s3_bucket_versioning" "revisions" {
  count = local.create_bucket

  bucket = aws_s3_bucket.revisions[0].id
  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_public_access_block" "revisions" {
  count = local.create_bucket

  bucket                  = aws_s3_bucket.revisions[0].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "revisions" {
  count = local.create_bucket

  bucket = aws_s3_bucket.revisions[0].id
  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "revisions" {
  count = local.create_bucket

  bucket = aws_s3_bucket.revisions[0].id
  rule {
    bucket_key_enabled = var.kms_key_arn != null
    apply_server_side_encryption_by_default {
      sse_algorithm     = var.kms_key_arn == null ? "AES256" : "aws:kms"
      kms_master_key_id = var.kms_key_arn
    }
  }
}

# Current revisions stay for ever: a launch needs the last good one, however long ago it was deployed.
resource "aws_s3_bucket_lifecycle_configuration" "revisions" {
  count = local.create_bucket

  bucket = aws_s3_bucket.revisions[0].id
  rule {
    id     = "old-versions"
    status = "Enabled"
    filter {}
    noncurrent_version_expiration {
      noncurrent_days = var.old_versions_days
    }
    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }

  depends_on = [aws_s3_bucket_versioning.revisions]
}

resource "aws_s3_bucket_policy" "revisions" {
  count = local.create_bucket

  bucket = aws_s3_bucket.revisions[0].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "EncryptedTransport"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = [aws_s3_bucket.revisions[0].arn, "${aws_s3_bucket.revisions[0].arn}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })

  depends_on = [aws_s3_bucket_public_access_block.revisions]
}
