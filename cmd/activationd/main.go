package main

func main() { _, _ = ParseConfig("", nil) }
