defmodule Crema.Renewal do
  @moduledoc """
  Other certificates, passwords and addresses for producers and consumers that run: a new client
  takes the place of the old one, below the same processes. `docs/renewal.md` tells how.

  Erlang's `:crema_renewal` has the same functions.
  """

  use Crema.Bang

  @doc """
  Renews the client of a producer, of each producer of a pool, or of a consumer with its producer of
  dead letters. After an error the old one goes on as it was.

  What is given as a function, in files (`ssl.*.location`) or in the environment is read anew.
  `changes` are `:kafka`, librdkafka's properties that are put over those of before, and
  `:bootstrap_servers`. The new client has `timeout` milliseconds to reach a broker.

      :ok = Crema.Renewal.renew(MyApp.Producer)
      :ok = Crema.Renewal.renew(MyApp.Orders, kafka: ["sasl.password": &MyApp.Vault.password/0])
  """
  @spec renew(Crema.client(), keyword | map, pos_integer) :: :ok | Crema.error()
  def renew(client, changes \\ %{}, timeout \\ 30_000) do
    :crema_renewal.renew(client, changes, timeout)
  end
end
