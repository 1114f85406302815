//! The front door, started from settings as the program starts it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use config::{BackendAddress, Config, ListenAddress};
use proxy::front::{Exchangeable, Front};
use proxy::listener::handover::Inherited;
use proxy::metrics::Counter;
use proxy::server::Server;

use super::{Backend, Client, Reply, Script};

pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    /// The operator's port, where the settings enable it.
    pub(crate) ops: Option<SocketAddr>,
    pub(crate) front: Arc<Front>,
}

impl Door {
    pub(crate) async fn start(backend: &Backend) -> Door {
        Door::with(backend, |_| {}).await
    }

    /// With other settings than the defaults.
    pub(crate) async fn with(backend: &Backend, change: impl FnOnce(&mut Config)) -> Door {
        Door::at(backend.address, change).await
    }

    pub(crate) async fn at(backend: SocketAddr, change: impl FnOnce(&mut Config)) -> Door {
        let mut config = Config::default();
        config.listen[0].address = ListenAddress::Tcp(([127, 0, 0, 1], 0).into());
        config.metrics.enabled = false;
        config.backend.servers = vec![BackendAddress::Host {
            host: backend.ip().to_string(),
            port: backend.port(),
        }];
        config.backend.retries_max = 0;
        config.server.drain_timeout = Duration::from_millis(100);
        change(&mut config);
        config.validate().expect("sound settings");
        let server = Server::bind(config, Inherited::default())
            .await
            .expect("a free port");
        let address = match server.addresses().next() {
            Some(ListenAddress::Tcp(address)) => *address,
            other => panic!("no TCP listener: {other:?}"),
        };
        let ops = server.metrics_address();
        let front = Arc::clone(server.control().front());
        tokio::spawn(server.run(std::future::pending::<()>()));
        Door {
            address,
            ops,
            front,
        }
    }

    /// With a policy that is the built-in one but for what the script says.
    pub(crate) async fn scripted(backend: &Backend, script: Script) -> Door {
        let door = Door::start(backend).await;
        door.follow(script);
        door
    }

    /// Puts a script over the policy in use.
    pub(crate) fn follow(&self, script: Script) {
        let now = self.front.current();
        self.front.exchange(Exchangeable {
            settings: Arc::clone(&now.settings),
            policy: Arc::new(script.over(Arc::clone(&now.policy))),
            backends: Arc::clone(&now.backends),
            access_log: Arc::clone(&now.access_log),
        });
    }

    pub(crate) async fn connect(&self) -> Client {
        Client::connect(self.address).await
    }

    /// One request on a connection of its own.
    pub(crate) async fn request(
        &self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
    ) -> Reply {
        self.connect().await.request(method, target, fields).await
    }

    pub(crate) async fn get(&self, target: &str) -> Reply {
        self.request("GET", target, &[]).await
    }

    /// One request whose connection is given back while the answer is awaited.
    pub(crate) async fn begin(
        &self,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
    ) -> Client {
        let mut client = self.connect().await;
        client.send_head(method, target, fields).await;
        client
    }

    pub(crate) fn counted(&self, counter: Counter) -> u64 {
        self.front.metrics.get(counter)
    }
}
