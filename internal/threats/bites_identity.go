package main

// T1 to T16.
var identityBites = []bite{}
