package main

import (
	"fmt"
	"io"
)

// The table is nccl-tests' to the letter: other programs read it by its columns.

// writeHeader writes what stands above the table. A thread drives one rank, so "nGpus", the devices of a thread, is 1.
func writeHeader(w io.Writer, h header) error {
	step, unit := h.sweep.Step, "bytes"
	if h.sweep.Factor > 1 {
		step, unit = h.sweep.Factor, "factor"
	}
	if _, err := fmt.Fprintf(w, "# ringtree version %s go=%s\n"+
		"# Collective test starting: %s\n"+
		"# nThread %d nGpus %d minBytes %d maxBytes %d step: %d(%s) warmup iters: %d iters: %d agg iters: %d validation: %d graph: %d unalign: %d\n",
		h.version, h.goVersion, h.program, h.threads, 1, h.sweep.First, h.sweep.Last, step, unit,
		h.warmup, h.iters, h.agg, h.check, 0, 0); err != nil {
		return err
	}
	if h.perIter {
		if _, err := io.WriteString(w, "# Per-Iteration Report: monotonic clock; i_* uses max over ranks\n"); err != nil {
			return err
		}
	}
	if _, err := io.WriteString(w, "#\n# Using devices\n"); err != nil {
		return err
	}
	for _, d := range h.devices {
		if _, err := fmt.Fprintf(w, "#  Rank %2d Group %2d Pid %6d on %10s device %2d [%s] %s\n",
			d.Rank, d.Group, d.PID, d.Host, d.Device, d.Hex, d.Info); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, "#\n"+columns(h.perIter))
	return err
}

// columns is the head of the table.
func columns(perIter bool) string {
	lead := func(a, b, c, d, e string) string { return fmt.Sprintf("# %10s  %12s  %8s  %6s  %6s", a, b, c, d, e) }
	half := func(a, b, c, d string) string { return fmt.Sprintf("  %7s  %6s  %6s  %6s", a, b, c, d) }
	over := "           out-of-place                       in-place          "
	if perIter {
		over = "              out-of-place (+ per-iteration)                                in-place (+ per-iteration)"
		plain := half
		half = func(a, b, c, d string) string {
			unit := [...]string{"i_min", "i_max", "i_p99", "i_cv%"}
			if a != "time" {
				unit = [...]string{a, a, a, "(%)"}
			}
			return plain(a, b, c, d) + fmt.Sprintf("  %7s  %7s  %7s  %7s", unit[0], unit[1], unit[2], unit[3])
		}
	}
	names, units := half("time", "algbw", "busbw", "#wrong"), half("(us)", "(GB/s)", "(GB/s)", "")
	return lead("", "", "", "", "") + over + "\n" +
		lead("size", "count", "type", "redop", "root") + names + names + " \n" +
		lead("(B)", "(elements)", "", "", "") + units + units + " \n"
}

// writeRow writes one line of the table.
func writeRow(w io.Writer, r row) error {
	line := fmt.Appendf(nil, "%12d  %12d  %8s  %6s  %6d", r.size, r.count, r.dtype, r.op, r.root)
	for _, m := range [...]measurement{r.outOfPlace, r.inPlace} {
		line = fmt.Appendf(line, "  %s  %s  %s", number(m.seconds*1e6, 7), number(m.algbw, 6), number(m.busbw, 6))
		if m.checked {
			line = fmt.Appendf(line, "  %6.6g", float64(m.wrong)) // C's %6g: six digits
		} else {
			line = append(line, "    N/A"...)
		}
		if m.times != nil {
			s := summarise(slowest(m.times))
			line = fmt.Appendf(line, "  %s  %s  %s  %s", number(s.min*1e6, 7), number(s.max*1e6, 7), number(s.p99*1e6, 7), number(s.cv(), 7))
		}
	}
	_, err := w.Write(append(line, '\n'))
	return err
}

// writeFooter writes what stands below the table. wrong is the number of wrong elements of all rows, busbw the mean
// of all their bus bandwidths in GB/s.
func writeFooter(w io.Writer, program string, wrong int64, busbw float64) error {
	verdict := "OK"
	if wrong != 0 {
		verdict = "FAILED"
	}
	_, err := fmt.Fprintf(w, "# %-20s : %d %s\n# %-20s : %.6g %s\n#\n# Collective test concluded: %s\n",
		"Out of bounds values", wrong, verdict, "Avg bus bandwidth", busbw, "", program)
	return err
}

// number formats a value for a column: the first of two, one and no decimals that fits, else an exponent.
func number(value float64, width int) string {
	digits := 0 // as nccl-tests counts them: powers of ten up to the value
	for power := 1.0; value >= power && digits < 400; power *= 10 {
		digits++
	}
	switch {
	case digits < width-2:
		return fmt.Sprintf("%*.2f", width, value)
	case digits < width-1:
		return fmt.Sprintf("%*.1f", width, value)
	case digits < width+1:
		return fmt.Sprintf("%*.0f", width, value)
	case width >= 7:
		return fmt.Sprintf("%*.1e", width, value)
	default:
		return fmt.Sprintf("%*.0e", width, value)
	}
}
