package rollout

import (
	"cmp"
	"strings"
	"unicode/utf16"
)

// Who began a deployment, as its description says it. It is a note for people and no proof: whoever may create a deployment may
// write any description. CloudTrail has the proof.

// longestBy is how much of a description is for who it was, in UTF-16 units: a login with the id of a CI run.
const longestBy = 40

// Who is a person or a CI job in a few words: the login and the run of GitHub Actions or the job of GitLab, where getenv has
// them, and else the identity of an ARN.
func Who(arn string, getenv func(string) string) string {
	login, run := "", ""
	switch {
	case getenv("GITHUB_ACTIONS") == "true" && getenv("GITHUB_RUN_ID") != "":
		login, run = cmp.Or(getenv("GITHUB_TRIGGERING_ACTOR"), getenv("GITHUB_ACTOR")), "github run "+getenv("GITHUB_RUN_ID")
	case getenv("GITLAB_CI") == "true" && getenv("CI_JOB_ID") != "":
		login, run = getenv("GITLAB_USER_LOGIN"), "gitlab job "+getenv("CI_JOB_ID")
	default:
		return identity(arn)
	}
	return cmp.Or(login, identity(arn)) + ", " + run
}

// JobURL is the page of the CI job that this is, "" when it is none or does not say.
func JobURL(getenv func(string) string) string {
	switch {
	case getenv("GITHUB_ACTIONS") == "true" && getenv("GITHUB_RUN_ID") != "":
		return cmp.Or(getenv("GITHUB_SERVER_URL"), "https://github.com") + "/" + getenv("GITHUB_REPOSITORY") + "/actions/runs/" + getenv("GITHUB_RUN_ID")
	case getenv("GITLAB_CI") == "true":
		return getenv("CI_JOB_URL")
	}
	return ""
}

// identity is an ARN without what is the same for everybody: a user's name, ROLE/SESSION, or the session's name alone where
// the role is one of IAM Identity Center's, whose sessions are called after people.
func identity(arn string) string {
	part := strings.SplitN(arn, ":", 6)
	name := part[len(part)-1]
	kind, rest, _ := strings.Cut(name, "/")
	switch kind {
	case "user":
		return rest[strings.LastIndex(rest, "/")+1:] // a user may have a path
	case "assumed-role":
		if role, session, ok := strings.Cut(rest, "/"); ok && strings.HasPrefix(role, "AWSReservedSSO_") {
			return session
		}
		return rest
	}
	return name
}

// withMark is a description with its end, by which usher knows a deployment for its own: "The shop sells more (usher 1a2b3c4d, by ann)".
func withMark(description, mark, by string) string {
	end := "(usher " + mark
	if by = shortened(strings.NewReplacer("(", "[", ")", "]").Replace(by), longestBy); by != "" {
		end += ", by " + by
	}
	end += ")"
	return strings.TrimSpace(shortened(description, longestDescription-len(utf16.Encode([]rune(end)))-1) + " " + end)
}

// markForm is a description of withMark's. What is before it may have the like: the last one counts.
var markForm = form(`^(.*?) ?\(usher [0-9a-f]{8}(?:, by ([^()]*))?\)$`)

// described is a description without what withMark added to it, and who it was.
func described(description string) (message, by string) {
	if m := markForm().FindStringSubmatch(description); m != nil {
		return m[1], m[2]
	}
	return description, ""
}
