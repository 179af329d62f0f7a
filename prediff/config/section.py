"""What all sections of a configuration are made of."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

PositiveInt = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Betas = Annotated[
    tuple[Fraction, Fraction],
    Field(description="AdamW's decay of the first and the second moment, per step"),
]
Duration = Annotated[
    str,
    Field(
        pattern=r"^[1-9]\d* (steps|epochs)$", description="length of the training: steps or epochs"
    ),
]
GlobalBatch = Annotated[
    PositiveInt, Field(description="samples of one step, of all ranks together")
]
LearningRate = Annotated[
    float, Field(gt=0, description="highest learning rate, after warm-up, before decay")
]
WeightDecay = Annotated[float, Field(ge=0, description="AdamW's, on weights of two axes or more")]
Clip = Annotated[
    float, Field(gt=0, description="global norm to which a longer gradient is shortened")
]
Weight = Annotated[float, Field(ge=0)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
