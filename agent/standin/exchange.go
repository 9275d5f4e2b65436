package standin

// Exchange is one request of the control plane and its answer, as they are on the wire.
type Exchange struct {
	Service, Op string // as in Call
	Request     []byte // the body
	Status      int    // HTTP
	ErrorCode   string // "" when it went well
	Body        []byte
	Faulty      bool // the answer is what Cloud.Fail or Intercept asked for, not the service's
}
