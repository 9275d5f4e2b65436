// Package rollout is the developer's side of a deployment: from an application's git repository to a
// revision that CodeDeploy rolls out.
//
// The first half, in the order of its use: Find and Load read usher.yml, OpenRepository and its Fetch and
// Resolve give the one commit that is meant, Refusals and Warnings say what is wrong with it before anything
// is uploaded, Archive packs it, and Upload stores it in S3, once.
//
// The second half is CodeDeploy's: Look says what the deployment group runs, Create begins a deployment of a
// revision, Follow emits what happens in it until it has ended, and a View shows that. Before, OfDeployment and
// OfCommit find a revision to go back to, which is deployed in the same way.
// List and Servers only look: what was deployed, and which server runs what, as far as CodeDeploy and Auto Scaling know.
// A Lock is a rule among people who use usher: the commands heed it, CodeDeploy and Create do not.
//
// What it promises, and what it does not:
//
//   - The commit names the content. A bundle's key ends in the commit's id. An object that is there already is used
//     when its content is that of the bundle made of the commit here and now (same.go says how that is known), and is
//     never replaced; any other is refused. So all environments, and every rollback, deploy the same bytes, and who may
//     write to the bucket cannot choose them. A deployment pins them by version and ETag; in a bucket without versions
//     who may write to it can still replace them, and instances refuse an object of another ETag.
//   - Only what is committed is deployed. The working tree is looked at for warnings alone, and never written;
//     neither is the index. Fetch moves remote-tracking branches, as git fetch does.
//   - A bundle of a commit is byte for byte the same wherever the same usher makes it: git's settings that
//     change an archive (umask, line endings, compressors, replaced objects) are fixed. What a repository's
//     own .git/info/attributes and content filters do to it is not: filters are warned of.
//   - A bundle has S3's checksum of the whole object, which instances verify: SHA-256 when it went up in one
//     request, CRC-64/NVMe when in parts, because of parts S3 would keep only a checksum of their SHA-256 sums.
//     Its SHA-256 is in its metadata in any case.
//   - An upload that fails or is cancelled leaves no half of an object. Its parts are removed, but not when this
//     program is killed: a lifecycle rule of the bucket (AbortIncompleteMultipartUpload) removes those.
//
// git is run as a program, without prompting for a password: credential helpers and agents of ssh answer as
// for git itself. Nothing here prints, but a View.
//
// Errors name the file, the ref or the object, pass on what git or S3 said, and say what to do.
package rollout
