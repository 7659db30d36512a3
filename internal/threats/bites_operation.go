package main

// T135 to T154.
var operationBites = []bite{}
