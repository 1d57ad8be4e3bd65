# Reads an OpenMetrics exposition from standard input by prometheus_client's own parser.
# Prints a line `TYPE NAME {LABEL VALUE ...} NUMBER` for each sample, labels sorted, as
# tests in Tcl read it. Fails for what is no OpenMetrics.
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families


def word(text):
    quoted = "".join("\\u%04x" % ord(c) if not c.isalnum() else c for c in text)
    return quoted or "{}"


# With line ends as they are: a newline within a name must be escaped.
text = sys.stdin.buffer.read().decode("utf-8")
for family in text_string_to_metric_families(text):
    for sample in family.samples:
        labels = [word(w) for pair in sorted(sample.labels.items()) for w in pair]
        print(family.type, sample.name, "{" + " ".join(labels) + "}", repr(sample.value))
