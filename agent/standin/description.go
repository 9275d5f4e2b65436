package standin

import (
	"fmt"
	"unicode/utf8"
)

// maxDescription is the longest description of a deployment, in characters: "Maximum number of characters in a deployment
// description: 100", AWS CodeDeploy User Guide, CodeDeploy limits (Deployments). The API's models give the type
// Description no length, and no source says more of a revision's: it is held to the same.
const maxDescription = 100

// checkDescription answers as the service does for a description that is too long. What the guide calls characters is
// counted in code points here; that the service counts otherwise is known from no source.
func checkDescription(text string) *apiError {
	if utf8.RuneCountInString(text) > maxDescription {
		return &apiError{400, "DescriptionTooLongException", fmt.Sprintf("The description is longer than %d characters.", maxDescription)}
	}
	return nil
}
