package standin_test

import (
	"errors"

	"github.com/aws/smithy-go"
)

// code is the service's error code in err; "" when there is none.
func code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}
