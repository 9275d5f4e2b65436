// Package bundle brings a revision's bundle onto the disk: it fetches it from Amazon S3 or GitHub,
// verifies it, and unpacks it into an empty directory.
//
// The steps are separate functions, in this order: CheckSpace, FetchS3 or FetchGitHub, Unpack, Sync; FetchAndUnpackS3 does two of them at
// once. What they promise, and what they do not:
//
//   - A bundle counts only once its fetch has returned without an error. FetchS3 compares the file
//     with S3's own checksum of the object, else with the MD5 in the ETag, also where these are the
//     checksums of the parts it was uploaded in, summed up ("composite"; an ETag that ends in "-3"): the
//     sizes of the parts come from HeadObject, mostly the first one's alone. What is left has only its
//     length compared: an object that a key of KMS or of a customer encrypts and that was uploaded in parts or
//     otherwise without a checksum, a checksum that Go's library has no hash for (XXHASH), and a server that does
//     not tell the parts. Fetched.Checksum says which it was. Every request after the first carries the ETag, so an
//     object overwritten half way is an error and never a mixture.
//   - GitHub publishes no checksum of the archives it makes. The archive's own checksums are verified
//     when it is unpacked, and TLS is trusted for the rest. Only public repositories can be fetched.
//   - Unpack writes nothing outside its directory, whatever the archive says and whoever else may write into it
//     meanwhile: the directory is opened through os.Root, everything below by one name at a time that is never followed
//     if it is a link; names and link targets are judged before they are used, and links are made last. An archive that
//     asks for more is refused with the name of the entry, not unpacked in part or "sanitised". Of what is in an archive twice
//     the last entry counts, as for tar; a directory stays one.
//   - Where there is no server (any system but Linux, and the build tag developer) Unpack goes through os.Root altogether: a
//     link that somebody else puts into the directory meanwhile is followed as far as it stays inside. CheckSpace
//     finds no fault there, and there is no Sync.
//   - On an error the directory or file is left as it was at that moment, for the caller to remove. Only FetchAndUnpackS3
//     empties its directory again.
//   - Owners in an archive are ignored: everything belongs to the user the agent runs as, and the
//     appspec's permissions section decides the rest. The bits setuid, setgid and sticky are dropped.
//     Extended attributes and ACLs in an archive are ignored.
//   - Survey judges a developer's directory by the same rules, and writes nothing at all.
//   - Unpack and Directory write through the page cache. What they wrote survives a power cut only
//     after Sync.
//   - Memory stays within a few MB for contents of any size. The list of names comes on top, and is
//     limited (64 MB of names, Limits.MaxFiles entries): a zip whose directory is all names, made to
//     be the worst, can take some hundred MB before it is refused.
//
// Errors name the bucket and key, or the archive and its entry, and say what to do.
package bundle
