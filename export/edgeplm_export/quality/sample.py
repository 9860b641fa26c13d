"""The built-in sample: texts in twelve languages, written for this file, for a gate that was given no data.

It shows that a variant is not broken on real text. It says nothing of the user's own texts or labels.
"""

from __future__ import annotations

from edgeplm_export.quality.columns import Columns
from edgeplm_export.quality.data import Data, Example
from edgeplm_export.quality.questions import Question
from edgeplm_runtime.bundle.manifest import Manifest


NAME = "the built-in sample"
TEXTS = (
    # English
    "The parcel came on Tuesday, two days early, and nothing in it was broken.",
    "Terrible service.",
    "Could you tell me how to change the address on my account before the next bill is sent?",
    "The soup was cold, the waiter was rude, and we still had to pay the full price.",
    "Our neighbour repairs old radios. On summer evenings his workshop door stands open, and the whole street can "
    "hear a tango from a station that nobody knew was still on the air. Last week he showed my daughter how a coil "
    "is wound, let her hold the soldering iron for a moment, and then gave her a small receiver to take home. She has "
    "not put it down since; yesterday it told us the weather for ships in the North Sea.",
    "Flight 482 to Oslo is delayed by 35 minutes; gate B17 opens at 18:40.",
    "I expected little from this film and was moved by every scene of it.",
    "Rents in the old harbour district rose faster than wages for the fifth year in a row.",
    # German
    "Die Waschmaschine schleudert nicht mehr, und auf dem Display steht der Fehler E18.",
    "Großartiges Konzert, nur die Schlange an der Garderobe war zu lang.",
    "Wann fährt der letzte Bus zurück ins Dorf?",
    "Der Gemeinderat hat gestern beschlossen, die alte Mühle am Bach nicht abzureißen, sondern daraus eine Bücherei "
    "zu machen. Das Geld dafür soll zur Hälfte vom Land kommen. Die andere Hälfte wollen die Vereine mit Flohmärkten "
    "und einem Lauf rund um den See zusammenbringen, was manche für sehr mutig halten.",
    # French
    "Le boulanger du coin ferme toujours le lundi, mais aujourd'hui il a fait une exception.",
    "Je ne recommanderais cet hôtel à personne.",
    "Où puis-je faire réparer l'écran de mon téléphone ?",
    "La réunion est reportée à jeudi parce que trois collègues sont malades.",
    # Spanish
    "El tren llegó con una hora de retraso y nadie nos explicó por qué.",
    "¡Qué maravilla de libro!",
    "¿Cuánto cuesta enviar un paquete de dos kilos a Lima?",
    "Mi abuela guardaba las semillas de cada cosecha en frascos de vidrio, con el año escrito a mano en una etiqueta. "
    "Cuando murió, encontramos más de cuarenta, y en primavera sembramos un poco de cada uno. Casi todos brotaron.",
    # Portuguese
    "A praia estava vazia de manhã cedo, só havia dois pescadores e um cão.",
    "Não funciona com a versão nova do sistema.",
    "O preço do café subiu outra vez esta semana.",
    # Russian
    "Вчера вечером во всём доме на два часа отключили свет.",
    "Ужасное качество, деньги на ветер.",
    "Как доехать от вокзала до музея без пересадки?",
    "Мы долго выбирали щенка, а в итоге домой с нами поехал взрослый хромой пёс, который сам забрался в машину. Теперь "
    "он спит у двери, знает всех соседей по шагам и ни разу никого не разбудил зря.",
    # Arabic
    "وصلت الرسالة متأخرة، لكن الخبر الذي فيها أسعدنا جميعا.",
    "الخدمة سيئة جدا.",
    "متى تفتح المكتبة أبوابها يوم الجمعة؟",
    "زرعنا شجرة ليمون أمام البيت قبل عشر سنوات، واليوم يأخذ الجيران منها ما يحتاجون إليه.",
    # Hindi
    "बारिश के कारण आज का मैच एक घंटे देर से शुरू हुआ।",
    "यह फोन बहुत जल्दी गरम हो जाता है।",
    "क्या यहाँ से स्टेशन तक पैदल जाया जा सकता है?",
    # Chinese
    "快递昨天就到了，包装完好，颜色也和照片上一样。",
    "太失望了，再也不会来这家店。",
    "请问怎么取消明天早上的预约？",
    "村口的老桥今年终于修好了。施工的时候，大家每天要多走三里路去赶集，可是没有一个人抱怨。"
    "通车那天，孩子们在桥上跑来跑去，老人们坐在栏杆边，讲他们小时候过河的故事。",
    # Japanese
    "駅前の花屋は、雨の日だけ少し早く閉まります。",
    "映画は長すぎたけれど、最後の場面はよかった。",
    "この荷物を明日の午前中に届けてもらえますか。",
    # Korean
    "주문한 지 하루 만에 도착했고 크기도 딱 맞아요.",
    "화면이 자꾸 꺼져서 환불을 신청했습니다.",
    "할머니는 매일 아침 옥상에서 고추를 말리며 라디오를 들으셨다. 지금도 그 냄새를 맡으면 여름이 떠오른다.",
    # Turkish
    "Komşumuz dün gece bize kendi yaptığı reçelden getirdi.",
    "Kargo üç hafta sonra geldi ve kutu ezilmişti.",
    "Yarın yağmur yağacak mı?",
    "Köydeki okulda yalnızca on iki öğrenci kalmıştı; öğretmen hepsini aynı sınıfta, tek sobanın başında okutuyordu.",
)


def sample(manifest: Manifest) -> Data:
    """The sample as evaluation data without labels; for a model of pairs each text is followed by the next one."""
    paired = manifest.text.pairs == "required"
    followers = (*TEXTS[1:], TEXTS[0])
    return Data(
        path=NAME,
        rows=tuple(
            Example(text=text, text_pair=follower if paired else None, label=None, row=row)
            for row, (text, follower) in enumerate(zip(TEXTS, followers, strict=True), 1)
        ),
        question=Question.NOTHING,
        columns=Columns(text="text", text_pair="text_pair" if paired else None, label=None, known=("text",)),
    )
