variable "host" { default = "a.example" }
variable "host" { default = "b.example" }
