workspace {
  modus = "overlay"
  hyde  = [".env"]
}
descripton = "x"
