/** The contract of stores, on real Cassandra. */
import { createStore } from '../../workers/stores/open.js';
import { describeCassandra, newStoreUrl } from '../support/cassandra.js';
import { storeContract } from '../support/store-contract.js';

describeCassandra('store cassandra', () => {
  storeContract(async () => {
    const url = await newStoreUrl();
    return () => createStore(url);
  });
});
