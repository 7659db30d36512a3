package main

// T42 to T59.
var framingBites = []bite{}
