// Package hooks is the contract with application teams.
package hooks
