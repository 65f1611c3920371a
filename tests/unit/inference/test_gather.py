"""A whole answer as a stream, and back: nothing is lost on the way."""

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes import messages as made

from stead.inference.gather import Gathered, replay
from stead.messages import Choice, Reply


@settings(max_examples=50, deadline=None)
@given(made.answers("anthropic"), made.usages, st.none() | st.just("END"))
def test_an_answer_is_the_same_after_replaying_and_gathering_it(message, usage, stop_text):
    choice = Choice(0, message, "stop", stop_text=stop_text)
    reply = Reply(id="a", model="m", created=1, choices=(choice,), usage=usage)

    gathered = Gathered()
    for chunk in replay(reply):
        gathered.add(chunk)

    assert gathered.reply() == reply
