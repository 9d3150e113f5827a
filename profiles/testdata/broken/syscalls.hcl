syscalls {
  allow = ["@Ptrace", "", "*"]
}
