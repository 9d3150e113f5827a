files {
  limit "delete" {}
  limit "delet" { rate = "1/m" }
  limit "delete" { rate = 5 }
}
