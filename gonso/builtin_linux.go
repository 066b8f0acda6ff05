package gonso

func registerBuiltins() {
	registerPort()
	registerSocket()
	registerOpen()
	registerBind()
	registerLookup()
	registerOverlay()
}
