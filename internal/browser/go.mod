module github.com/udpkit/udp/internal/browser

go 1.26.0

replace (
	github.com/udpkit/udp => ../..
	github.com/udpkit/udp/pcap => ../../pcap
)

require (
	github.com/chromedp/cdproto v0.160.2
	github.com/chromedp/chromedp v0.23.1
	github.com/stretchr/testify v1.12.1
	github.com/udpkit/udp v0.0.0
	github.com/udpkit/udp/pcap v0.0.0-00010101000000-000000000000
)

require (
	github.com/go-json-experiment/json v0.0.0-20260213210345-44df1a37e875 // indirect
	github.com/gopacket/gopacket v1.7.7 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/net v0.62.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)
