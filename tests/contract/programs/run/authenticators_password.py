from pylae import Gateway
from pylae.settings import Basic

gateway = Gateway(auth={"basic": Basic(users={"ada": "correct horse"})})
