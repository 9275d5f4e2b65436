output "groups" {
  description = "The Auto Scaling groups: role to name."
  value       = module.shop.groups
}

output "usher_yml" {
  description = "usher.yml for the application's repository."
  value       = module.shop.usher_yml
}
