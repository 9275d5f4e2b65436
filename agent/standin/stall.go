package standin

import "net/http"

// stalled is the way back to a client whose answer begins and never ends: the head and half of the body arrive, and then
// nothing, on a connection that stays open, as behind a load balancer whose server died or a NAT that forgot. A HEAD has
// no body: nothing of its answer arrives.
type stalled struct {
	http.ResponseWriter
	request *http.Request
}

func (s stalled) WriteHeader(status int) {
	if s.request.Method == http.MethodHead {
		s.hang()
	}
	s.Header().Del("Content-Length") // what was promised would come, or not at all
	s.ResponseWriter.WriteHeader(status)
}

func (s stalled) Write(p []byte) (int, error) {
	_, _ = s.ResponseWriter.Write(p[:len(p)/2])
	_ = http.NewResponseController(s.ResponseWriter).Flush()
	s.hang()
	return 0, nil
}

// hang keeps the connection until the client gives it up.
func (s stalled) hang() {
	<-s.request.Context().Done()
	panic(http.ErrAbortHandler)
}

// Unwrap is for http.ResponseController.
func (s stalled) Unwrap() http.ResponseWriter { return s.ResponseWriter }
