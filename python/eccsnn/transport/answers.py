"""What the cloud says of a sample's class: logits, or briefly the class and how sure it is, as an edge has asked.

An edge that decides when to stop needs no more than the brief form, whose size does not grow with the classes; one that
learns from the cloud needs logits. A cloud that does not know the brief form answers with logits, from which an edge
takes the same label and confidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eccsnn.errors import MessageError
from eccsnn.offload.exits import confidence
from eccsnn.transport.proto.eccsnn.v1 import cloud_pb2 as pb


@dataclass(frozen=True)
class Verdict:
    """A class and how sure its judge is.

    Attributes:
        label: id of the class with the largest logit.
        confidence: largest softmax of the logits, in [0, 1]; see `judge`.
        logits: f32 `[K]`; None where they did not travel.
    """

    label: int
    confidence: float
    logits: NDArray[np.float32] | None


def judge(logits: NDArray[np.float32], class_ids: Sequence[int]) -> Verdict:
    """The class that logits speak for.

    The confidence is rounded towards 0 to float32, as it travels: so it reaches a float32 threshold exactly where the
    unrounded one does, and both ends of a wire decide the same.

    Args:
        logits: f32 `[K]`, finite.
        class_ids: class of each.

    Example:
        >>> judge(np.float32([0, 0, -100]), [7, 5, 3]).label, judge(np.float32([0, 0]), [7, 5]).confidence
        (7, 0.5)
    """
    exact = float(confidence(logits))
    rounded = np.float32(exact)
    if float(rounded) > exact:
        rounded = np.nextafter(rounded, np.float32(0))
    return Verdict(class_ids[int(logits.argmax())], float(rounded), logits)


def make_answer(
    logits: NDArray[np.float32], class_ids: Sequence[int], version: int, *, brief: bool = False, first: bool = True
) -> pb.Answer:
    """The wire form of logits.

    Args:
        logits: f32 `[K]`, finite.
        class_ids: class of each.
        version: of the class list.
        brief: say the class and the confidence alone.
        first: to a sample's first timestep, or to an image; later answers leave out what stays the same.
    """
    if brief:
        verdict = judge(logits, class_ids)
        answer = pb.Answer(class_id=verdict.label, confidence=verdict.confidence)
    else:
        answer = pb.Answer(logits=logits.tolist(), class_ids=class_ids if first else ())
    if first or not brief:
        answer.class_list_version = version
    return answer


def is_brief(answer: pb.Answer) -> bool:
    """Whether an answer has any field of the brief form."""
    return answer.HasField("class_id") or answer.HasField("confidence")


def read_answer(answer: pb.Answer, class_ids: Sequence[int], *, brief: bool) -> Verdict:
    """What an answer says, in either form; its class list is for the caller to check.

    Args:
        answer: from outside.
        class_ids: classes that it is over.
        brief: the brief form was asked for; logits are taken all the same.

    Raises:
        MessageError: it has both forms or neither, a class that is not in the list, or impossible numbers.
    """
    if is_brief(answer):
        if not brief:
            raise MessageError("the answer has no logits, but a class and a confidence; it was not asked to be brief")
        if answer.logits or answer.class_ids:
            raise MessageError("the answer holds both logits and a brief answer; expected one of them")
        if not (answer.HasField("class_id") and answer.HasField("confidence")):
            raise MessageError("the brief answer lacks its class_id or its confidence; expected both")
        if answer.class_id not in class_ids:
            raise MessageError(
                f"the answer's class {answer.class_id} is none of the {len(class_ids)} classes of the class list"
            )
        if not 0.0 <= answer.confidence <= 1.0:  # NaN is not
            raise MessageError(f"the answer's confidence is {answer.confidence}; expected a number in [0, 1]")
        return Verdict(answer.class_id, answer.confidence, None)
    if not answer.logits:
        raise MessageError("the answer holds neither logits nor a class; is the cloud newer than this edge?")
    logits = np.asarray(answer.logits, dtype=np.float32)
    if len(logits) != len(class_ids):
        raise MessageError(f"the answer has {len(logits)} logits for {len(class_ids)} classes")
    if not np.isfinite(logits).all():
        raise MessageError("the answer's logits are not all finite")
    return judge(logits, class_ids)


def brief_answer_bytes(class_ids: Sequence[int]) -> int:
    """Size of the largest brief `Answer` over some classes, as serialised; without the response around it.

    It has the version of the class list, which answers to later timesteps leave out (2 bytes).

    Example:
        >>> brief_answer_bytes(range(10)), brief_answer_bytes(range(1000))
        (9, 10)
    """
    return pb.Answer(class_id=max(class_ids), confidence=1.0, class_list_version=1).ByteSize()
