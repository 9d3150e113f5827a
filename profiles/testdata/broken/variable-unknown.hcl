variable "tracker" { default = "a.example" }

network {
  allow "tracker" { hosts = [var.traker] }
}
