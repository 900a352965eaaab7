"""Five lives (a poll, an enrolment, an upload, a rollout, an incident), lived for real and compared with the document."""
