// Package hostcommand is the client of CodeDeploy's host-command protocol: how a deployment tells an
// instance what to do, one lifecycle event at a time.
//
//	c := hostcommand.New(options)
//	cmd, err := c.Next(ctx)                   // a long poll, until there is a command
//	spec, err := c.Specification(ctx, cmd)    // what is deployed; verified
//	status, err := c.Acknowledge(ctx, cmd, noop)
//	…                                         // the work of the event cmd.Event
//	err = c.Complete(ctx, cmd.ID, result)
//
// # What is sent
//
// AWS JSON 1.1 by POST over TLS 1.2 or later, signed with Signature Version 4 for the service
// codedeploy-commands, or codedeploy-commands-secure with Options.Secure, with the instance's role
// credentials. Proxies are the environment's. Every request says which instance asks (its
// ARN) or which command it is about, and the version of the agent in a signed header. A result is the
// script's name, a message and the last lines of its output, within the service's limits (see Result);
// nothing else of the instance leaves it.
//
// A poll waits at the service, about 45 s, and is one attempt: Next owns the pauses between polls. The
// other calls are tried up to four times by themselves, and Complete goes on for minutes, because a result
// that is not delivered fails the event an hour later. Credentials that the service says have expired are
// renewed at once.
//
// # What is verified
//
// Before a command is returned: it has an id and an event, and is for this instance. Before a
// specification is returned:
//
//   - it is a PKCS #7 message of at most 128 KiB: one PEM block, with its content, one signer and the
//     signer's certificate;
//   - the digest, the signature over it and the signing time, which must lie in the certificate's
//     validity, are good. A message without signed attributes, as `openssl cms -noattr` makes them, is
//     signed over the content itself, and the certificate must be valid now. Content that is another
//     message's signed attributes, and a signer with two digest algorithms, are refused;
//   - with Options.SignerCA, the signer's chain leads to it at the current time, and the signer's name is
//     codedeploy-signer-REGION.DOMAIN;
//   - the content is one JSON object with everything a deployment needs, and its deployment is the one
//     that the command is of.
//
// Anything else is an error that says what was wrong, and no specification is returned. Answers above
// 1 MiB are not read.
//
// # Caveats
//
// AWS does not document this protocol for others. What is written here was observed, and read in the
// source of the agent that AWS publishes; AWS may change it.
//
// Without Options.SignerCA any signer is accepted, and reported (Specification.Signer, Event): the
// authorities of the live service are not published, and AWS's own agent does not check them either. Then
// a specification is as good as the TLS connection it came through; the signature only shows that it was
// not damaged.
//
// The service hands a command out again until it is acknowledged, and takes a result twice when the answer
// to the first got lost. What was carried out already is for the caller to know, by Command.ID.
//
// VariantId and VariantEnvelope, which an answer may have beside the generic envelope, are not read:
// AWS's agents do not either. One command is no lifecycle event: UpdateAgent.
//
// The access token for private GitHub repositories that a specification may have is not read: revisions
// come from S3 or from public repositories.
package hostcommand
