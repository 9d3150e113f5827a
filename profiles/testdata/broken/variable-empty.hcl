variable "tracker" {}
variable "1x" { default = "a" }
variable "other" { default = var.tracker }

network {
  allow "tracker" { hosts = [var.tracker, var.other] }
}
