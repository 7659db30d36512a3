package main

// T98 to T117.
var accountBites = []bite{}
