module github.com/gonso/gonso/integration

go 1.26.0

require (
	github.com/containernetworking/plugins v1.9.1
	github.com/gonso/gonso v0.0.0
	github.com/google/nftables v0.3.0
	github.com/moby/sys/reexec v0.1.0
	github.com/opencontainers/runtime-spec v1.2.1
	github.com/vishvananda/netlink v1.3.1
	github.com/vishvananda/netns v0.0.5
	golang.org/x/sys v0.49.0
)

require (
	github.com/fxamacker/cbor/v2 v2.10.0 // indirect
	github.com/google/go-cmp v0.7.0 // indirect
	github.com/mdlayher/netlink v1.7.3-0.20250113171957-fbb4dce95f42 // indirect
	github.com/mdlayher/socket v0.5.1 // indirect
	github.com/x448/float16 v0.8.4 // indirect
	golang.org/x/net v0.43.0 // indirect
	golang.org/x/sync v0.16.0 // indirect
)

replace github.com/gonso/gonso => ../
