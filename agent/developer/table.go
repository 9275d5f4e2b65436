package developer

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"usher/agent/rollout"
)

// printTable prints rows below their heading, in columns. In a terminal that they do not fit into, a row is as many lines as it
// needs, without the heading: a line that is broken anywhere can be read by nobody.
func printTable(out io.Writer, heading []string, rows [][]string) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if columns := rollout.Columns(out); columns > 0 && width(append([][]string{heading}, rows...)) > columns {
		for _, row := range rows {
			if _, err := fmt.Fprintln(out, strings.Join(folded(row, columns), "\n    ")); err != nil {
				return err
			}
		}
		return nil
	}
	for _, row := range append([][]string{heading}, rows...) {
		fmt.Fprintln(table, strings.Join(row, "\t"))
	}
	return table.Flush()
}

// width is how wide rows are in columns.
func width(rows [][]string) (all int) {
	for at := range rows[0] {
		most := 0
		for _, row := range rows {
			most = max(most, utf8.RuneCountInString(row[at]))
		}
		all += most + 2
	}
	return all - 2
}

// folded are the lines of a row; all but the first are indented by 4.
func folded(row []string, columns int) (lines []string) {
	line := ""
	for _, cell := range row {
		next := strings.TrimSpace(line + "  " + cell)
		indent := 0
		if len(lines) > 0 {
			indent = 4
		}
		if line != "" && utf8.RuneCountInString(next)+indent > columns {
			lines = append(lines, line)
			next = cell
		}
		line = next
	}
	return append(lines, line)
}
