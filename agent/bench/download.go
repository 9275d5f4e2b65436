package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"usher/agent/bundle"
)

const (
	whoAWSCopy   = "aws s3 cp"
	whoGetObject = "GetObject, io.Copy"
)

// downloads fetches objects of 100 MB and 1 GB from S3 onto the disk. usher's is verified against S3's checksum.
func (b *bench) downloads(ctx context.Context) error {
	goals := []goal{{Against: whoAWSCopy, AtMost: 0.15}, {Against: whoGetObject, AtMost: 1.0}}
	if err := b.download(ctx, row{Name: "100 MB", Goals: goals}, 100_000_000, b.rounds(9)); err != nil {
		return err
	}
	if b.quick {
		b.report.LeftOut = append(b.report.LeftOut, "download of 1 GB")
		return nil
	}
	return b.download(ctx, row{Name: "1 GB"}, 1_000_000_000, 5)
}

func (b *bench) download(ctx context.Context, w row, size, rounds int) error {
	object := bundle.S3Object{Bucket: b.cloud.Bucket, Key: fmt.Sprintf("noise-%d", size)}
	b.say("uploading %s", w.Name)
	var err error
	if object.ETag, object.Version, err = b.cloud.Upload(object.Bucket, object.Key, noise(size)); err != nil {
		return err
	}
	client := s3.New(s3.Options{
		Region: b.cloud.Region, BaseEndpoint: aws.String(b.cloud.S3Endpoint), UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(b.cloud.AccessKey, b.cloud.SecretKey, ""),
	})

	// onto gives a subject a new file, and takes it away again: one file that is freed slows nobody down.
	onto := func(fetch func(ctx context.Context, file string) error) func(context.Context) (time.Duration, error) {
		return func(ctx context.Context) (took time.Duration, err error) {
			dir, err := b.directory(b.disk)
			if err == nil {
				err = coolDown(b.disk)
			}
			if err != nil {
				return 0, err
			}
			file := filepath.Join(dir, "object")
			if took, err = timed(func() error { return fetch(ctx, file) }); err != nil {
				return 0, err
			}
			info, err := os.Stat(file)
			if err == nil && info.Size() != int64(size) {
				err = fmt.Errorf("%d bytes came, and the object has %d", info.Size(), size)
			}
			if err != nil {
				return 0, err
			}
			return took, os.Remove(file)
		}
	}
	created := func(fetch func(ctx context.Context, to *os.File) error) func(context.Context, string) error {
		return func(ctx context.Context, file string) error {
			f, err := os.Create(file)
			if err != nil {
				return err
			}
			defer f.Close()
			return fetch(ctx, f)
		}
	}
	return b.race(ctx, w, rounds,
		subject{who: whoUsher, run: onto(created(func(ctx context.Context, to *os.File) error {
			_, err := bundle.FetchS3(ctx, client, object, to, nil)
			return err
		}))},
		subject{whoAWSCopy, []string{"aws"}, onto(func(ctx context.Context, file string) error {
			return command(ctx, b.developer(), "aws", "s3", "cp", "--only-show-errors", "s3://"+object.Bucket+"/"+object.Key, file)
		})},
		subject{who: whoGetObject, run: onto(created(func(ctx context.Context, to *os.File) error {
			out, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &object.Bucket, Key: &object.Key, VersionId: &object.Version})
			if err != nil {
				return err
			}
			defer out.Body.Close()
			_, err = io.Copy(to, out.Body)
			return err
		}))},
	)
}

// developer is the environment of an AWS CLI with a user's credentials.
func (b *bench) developer() []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.disk}, b.cloud.CLIEnviron()...)
}

// noise is an object that nothing can be saved on.
func noise(size int) []byte {
	pool := newSource("noise").noise
	object := make([]byte, 0, size)
	for len(object) < size {
		object = append(object, pool[:min(len(pool), size-len(object))]...)
	}
	return object
}
