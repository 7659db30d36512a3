package main

// T60 to T78.
var browserBites = []bite{}
