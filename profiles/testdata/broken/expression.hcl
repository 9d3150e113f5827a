description = 5
workspace {
  path = null
  hide = { a = 1 }
}
limits { processes = 1 / 0 }
process { env = [1] }
