// Package approval keeps what people are asked while a run goes on: which questions are
// open, who has answered, what was granted and until when. It is pure: what it knows of
// the world is the time, and whoever asks is held in Board.Ask.
//
// # What an answer is worth
//
// A question is about exactly one thing, its subject's Key: host and port; a method,
// host and path; a program's file and all its arguments; an amount of a budget for one
// request. A yes is for that and nothing else.
//
//   - No answer in time is a no, and so is the end of the run.
//   - One no is a no, whoever else says yes.
//   - With a quorum, so many different approvers must say yes. An approver is a uid (as
//     the kernel says) and the name that was given; one who answers twice counts once.
//   - A yes holds for what is held just now (Once), for a time, or for the run. Of
//     several approvers' the shortest counts.
//   - A no holds for the rest of the run, so that an agent can't ask until somebody's
//     thumb slips; with Once it is for what is held just now, and for whoever tries again
//     within the next ten seconds, as after a time without an answer.
//
// # What an agent may do to the people who are asked
//
// The same question asked by a hundred threads is one question, which says how many are
// held. There is a bound on the questions that are open at once, on what is held, and on
// how many new questions there may be in a minute; beyond it the answer is no at once, is
// recorded, and the list says how many. So a question never stands among more than
// maxOpen others, and a person can read each. What the agent wrote is escaped to ASCII
// and cut before anybody sees it (Text).
package approval
