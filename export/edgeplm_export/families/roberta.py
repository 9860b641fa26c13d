"""RoBERTa and its kin: BERT's attention, positions counted from the padding id on."""

from edgeplm_export.families._family import Family


FAMILIES = tuple(
    Family(model_type=model_type, fuses_attention=1, position_offset=lambda config: int(config.pad_token_id or 0) + 1)
    for model_type in ("roberta", "xlm-roberta", "camembert")
)
