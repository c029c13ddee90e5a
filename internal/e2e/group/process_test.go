package group_test

// Variables that make the test binary a server.
const (
	childAddress  = "UDPKIT_GROUP_ADDRESS"
	childSteering = "UDPKIT_GROUP_STEERING"
)
