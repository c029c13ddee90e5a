module github.com/udpkit/udp/bench

go 1.26.0

require (
	github.com/stretchr/testify v1.12.1
	github.com/udpkit/udp v0.0.0
	go.uber.org/goleak v1.3.0
	golang.org/x/net v0.62.0
	golang.org/x/sys v0.49.0
	golang.zx2c4.com/wireguard v0.0.0-20260522210424-ecfc5a8d5446
)

require go.yaml.in/yaml/v3 v3.0.5 // indirect

replace github.com/udpkit/udp => ../
